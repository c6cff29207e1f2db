"""Real machines: Debian 12 with its stock cloud kernel in qemu, for what the lab's kernel lacks."""
