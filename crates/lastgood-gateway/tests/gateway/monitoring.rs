//! What is exported, and what watches it.
