//! TEMPORARY
#![allow(missing_docs, dead_code)]
pub enum State {
    Works,
    Limited,
    Missing,
}
pub struct Finding {
    pub name: String,
    pub state: State,
    pub detail: String,
    pub remedy: Option<String>,
}
pub fn doctor() -> Vec<Finding> {
    vec![]
}
