//! `--format`: a line for each thing, with fields of its JSON document: `{{.id}} {{.standing.state}}`.

use crate::fail::Failure;
use serde::Serialize;
use serde_json::Value;
use std::str::FromStr;

/// A line with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Names of fields, from the outside in; none: the whole document.
    Field(Vec<String>),
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        if text == "json" {
            return Ok(Template { parts: vec![Part::Field(Vec::new())] });
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, after) =
                after.split_once("}}").ok_or_else(|| format!("`{text}` has a {{{{ without a }}}}"))?;
            let path = field.trim().strip_prefix('.').ok_or_else(|| {
                format!("`{{{{{field}}}}}` names no field: write for example {{{{.id}}}}, or {{{{.standing.state}}}}")
            })?;
            let path = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            parts.extend([Part::Text(unescaped(before)), Part::Field(path)]);
            rest = after;
        }
        parts.push(Part::Text(unescaped(rest)));
        Ok(Template { parts })
    }
}

/// What shells do not make of it.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

impl Template {
    /// The line for a thing.
    ///
    /// # Errors
    /// When it has no such field.
    pub fn fill(&self, thing: &impl Serialize) -> Result<String, Failure> {
        let document = serde_json::to_value(thing).map_err(std::io::Error::from)?;
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => Ok(text.clone()),
            Part::Field(path) => field(&document, path),
        });
        parts.collect()
    }
}

fn field(document: &Value, path: &[String]) -> Result<String, Failure> {
    if let (Value::Object(fields), Some(name)) = (document, path.first())
        && !fields.contains_key(name)
    {
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        return Err(Failure::misused(format!("there is no field `{name}`"))
            .hint(format!("There are {}.", known.join(", "))));
    }
    // Further inside, what has no value is left out.
    let found = path.iter().try_fold(document, |value, name| match value {
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    });
    Ok(match found {
        None | Some(Value::Null) => String::new(),
        // A name that somebody else chose draws nothing over the terminal.
        Some(Value::String(text)) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Some(other) => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_filled_in() {
        let thing = json!({ "id": "ab", "standing": { "state": "running" }, "ports": [80], "none": null });
        let fill = |text: &str| text.parse::<Template>().unwrap().fill(&thing).unwrap();
        assert_eq!(fill("{{.id}}\\t{{ .standing.state }}!"), "ab\trunning!");
        assert_eq!(fill("{{.ports}} {{.ports.0}} {{.none}}{{.standing.percent}}"), "[80] 80 ");
        assert_eq!(fill("{{.standing}}"), r#"{"state":"running"}"#);
        assert_eq!(fill("json"), fill("{{.}}"));
        assert!("{{.id".parse::<Template>().is_err() && "{{id}}".parse::<Template>().is_err());
        assert!("{{.ID}}".parse::<Template>().unwrap().fill(&thing).is_err());
    }

    #[test]
    fn a_name_draws_nothing() {
        let line = "{{.name}}".parse::<Template>().unwrap().fill(&json!({ "name": "a\x1b[2J" }));
        assert_eq!(line.unwrap(), "a?[2J");
    }
}
