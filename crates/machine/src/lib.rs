//! The only hands on this computer: images, guests, what the machine has and what it can do.

pub mod archive;
pub mod benchmark;
pub mod device;
pub mod doctor;
pub mod download;
pub mod electricity;
pub mod guest;
mod http;
pub mod image;
pub mod inventory;
pub mod memory;
pub mod network;
pub mod presence;
pub mod selftest;
mod tarball;
pub mod volume;
