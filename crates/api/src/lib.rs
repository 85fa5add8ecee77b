//! The one door: routes, shapes, error codes, OpenAPI, and a typed client for programs in Rust.
//!
//! A face shows and asks; it holds no rule. What it can ask is [`router`], over TCP on the loopback with a token, over a
//! Unix socket ([`serve()`]), or inside the program. What comes and goes are the [`shapes`]; what is not granted is a
//! [`Problem`].

mod client;
mod dashboard;
mod door;
mod export;
mod guard;
mod journal;
mod link;
pub mod pack;
mod passage;
mod problem;
mod router;
mod routes;
mod serve;
pub mod session;
pub mod shapes;
mod share;
mod socket;
mod stream;

pub use client::{
    Client, ClientError, Events, Pieces, ProgramInput, ProgramOutput, ProgramSaid, Samples, Told,
};
pub use dashboard::{Dashboard, Lan};
pub use export::Form;
pub use guard::{Guard, Token};
pub use journal::{OF_A_NODE, begin_telling};
pub use passage::{NoPassage, Passage, Passed};
pub use problem::Problem;
pub use router::{openapi, router};
pub use serve::{Announcement, Doors, ServeError, Serving, USUAL_PORT, serve, serve_at, token_path};
pub use socket::socket_path;

pub use node;

/// What works on this machine, what does not, and what mends it. It needs no node.
pub fn doctor() -> shapes::Doctor {
    node::machine::doctor::doctor().into()
}
