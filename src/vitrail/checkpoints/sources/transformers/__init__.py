"""Models of Hugging Face's transformers (Apache-2.0), in folders as `save_pretrained` writes them."""
