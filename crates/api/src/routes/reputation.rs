//! What this node makes of others.

use crate::door::{Door, Names, find_person};
use crate::problem::Problem;
use crate::shapes::{Party, Reputation, Score};
use axum::Json;
use axum::extract::{Path, State};

/// All of whom something is known.
#[utoipa::path(get, path = "/v1/reputation", tag = "reputation", responses((status = 200, body = Reputation)))]
pub async fn all(State(door): State<Door>) -> Result<Json<Reputation>, Problem> {
    let party = door.node.identity().party();
    let name = Some(door.node.name()).filter(|name| !name.is_empty());
    let me = Party { person: party.person.to_string(), device: party.device.to_string(), name };
    let scores = door.node.look(|core| {
        let names = Names::of(core);
        let known = core.engine().state().reputation.known();
        known.map(|(person, score)| Score::of(person, names.get(person), score)).collect()
    });
    Ok(Json(Reputation { me, scores: scores.await? }))
}

/// What is known of one person: by the first digits of their key. Of a stranger whose key is given in full: nothing yet.
#[utoipa::path(get, path = "/v1/reputation/{person}", tag = "reputation", params(("person" = String, Path)), responses((status = 200, body = Score)))]
pub async fn one(State(door): State<Door>, Path(person): Path<String>) -> Result<Json<Score>, Problem> {
    let score = door.node.look(move |core| {
        let person = find_person(core, &person)?;
        Ok::<_, Problem>(Score::of(
            person,
            Names::of(core).get(person),
            &core.engine().state().reputation.score(person),
        ))
    });
    score.await?.map(Json)
}
