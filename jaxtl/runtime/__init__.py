"""The machine: processes, devices, files, the network."""
