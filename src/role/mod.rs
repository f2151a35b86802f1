//! What they may be: claims → database role.
