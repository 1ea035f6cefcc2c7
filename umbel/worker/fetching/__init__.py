"""What comes into a worker: received, sorted, admitted, handed to the pool, or given back."""
