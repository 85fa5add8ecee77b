//! What this node makes of others.

use crate::door::{Door, Names};
use crate::problem::Problem;
use crate::shapes::{Party, Reputation, Score};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use node::Core;
use node::model::PersonId;

/// All of whom something is known.
#[utoipa::path(get, path = "/v1/reputation", tag = "reputation", responses((status = 200, body = Reputation)))]
pub async fn all(State(door): State<Door>) -> Result<Json<Reputation>, Problem> {
    let party = door.node.identity().party();
    let name = Some(door.node.config().name.clone()).filter(|name| !name.is_empty());
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
        let person = find(core, &person)?;
        Ok::<_, Problem>(Score::of(
            person,
            Names::of(core).get(person),
            &core.engine().state().reputation.score(person),
        ))
    });
    score.await?.map(Json)
}

fn find(core: &Core, text: &str) -> Result<PersonId, Problem> {
    if let Ok(person) = text.parse() {
        return Ok(person);
    }
    let digits = text.to_ascii_lowercase();
    let fits = |person: &PersonId| !digits.is_empty() && person.to_string().starts_with(&digits);
    let mut known = core.engine().state().reputation.known().map(|(person, _)| person).filter(fits);
    match (known.next(), known.next()) {
        (Some(person), None) => Ok(person),
        (Some(_), Some(_)) => {
            let problem = Problem::new(
                StatusCode::CONFLICT,
                "ambiguous_person",
                format!("`{text}` fits several persons"),
            );
            Err(problem.hint("Give more digits."))
        }
        (None, _) => {
            let problem = Problem::new(
                StatusCode::NOT_FOUND,
                "unknown_person",
                format!("nothing is known of a person `{text}`"),
            );
            Err(problem.hint("`sublet reputation` lists those of whom something is."))
        }
    }
}
