//! Layers as hostile as we could think of, and honest ones that look alike. Each is unpacked next to a witness
//! directory, which must be the same afterwards.
