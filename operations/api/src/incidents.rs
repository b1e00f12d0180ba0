//! What went wrong, who was told, and what was done about it.
