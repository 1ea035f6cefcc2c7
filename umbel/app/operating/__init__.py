"""What people ask about an app and its fleet, and do to them."""
