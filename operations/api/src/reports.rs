//! What is looked at regularly, written down.
