//! `sublet-supervisor`: keeps one guest for the desktop app, which starts it. WebKit, with which the app itself is linked, starts a
//! thread before `main`; who makes namespaces must have none. Installed from packages, the command line does this.

fn main() {
    api::node::machine::guest::supervise()
}
