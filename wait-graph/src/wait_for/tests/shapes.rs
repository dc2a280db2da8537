//! Shapes that were thought hard.
