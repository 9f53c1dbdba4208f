//! (floor header comes with its first code)
