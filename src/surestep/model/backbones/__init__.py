"""Loading a backbone: hub, folder or built in, with adapters where asked."""
