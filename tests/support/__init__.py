"""What tests share: hand-written doubles of the wire, published descriptions, sample commands."""
