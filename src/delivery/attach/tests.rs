//! Attaching, to a scripted registry.
