"""refundflow carries order cancellations and refunds out everywhere they must be, each effect exactly once."""
