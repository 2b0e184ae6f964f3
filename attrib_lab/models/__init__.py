"""Models on the disk: backbones, checkpoints, and the folder of a finished one."""
