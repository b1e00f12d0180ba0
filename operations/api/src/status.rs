//! What everybody may see.
