"""What a client needs: its key, its config file and the QR code of it."""
