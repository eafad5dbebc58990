"""The sub-commands of `vera`: each module adds its parser and returns an exit code."""
