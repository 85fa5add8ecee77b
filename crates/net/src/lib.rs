//! Sublet.
