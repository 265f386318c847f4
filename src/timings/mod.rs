//! Where the time went.
