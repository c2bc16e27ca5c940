"""What several tests share: small models, datasets and training runs."""
