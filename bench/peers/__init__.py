"""What ArtStore is measured against."""
