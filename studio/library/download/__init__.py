"""Downloads of model files, when a person asks: from the Hub or an address, resumed, checked, whole or absent."""
