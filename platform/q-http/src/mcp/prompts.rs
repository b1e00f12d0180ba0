//! `prompts/list`, `prompts/get`.

use std::collections::BTreeMap;

use http::request::Parts;
use q_core::Caller;
use serde_json::{Value, json};

use super::{INVALID_PARAMS, Offered, failure, resources, success};
use crate::{Prompt, mounted::Mounted};

/// The longest argument.
const ARGUMENT_BYTES_MAX: usize = 1 << 10;

pub(super) fn list(prompts: &[Prompt]) -> Value {
    let listed = prompts.iter().map(|prompt| {
        let arguments = prompt.arguments.iter().map(|argument| {
            json!({"name": argument.name, "description": argument.about, "required": argument.is_required})
        });
        json!({
            "name": prompt.name, "description": prompt.about, "arguments": arguments.collect::<Vec<_>>(),
        })
    });
    json!({"prompts": listed.collect::<Vec<_>>()})
}

pub(super) async fn get(
    mounted: &Mounted,
    offered: &Offered,
    head: &Parts,
    caller: Caller,
    id: &Value,
    parameters: &Value,
) -> Value {
    let name = parameters.get("name").and_then(Value::as_str).unwrap_or_default();
    let Some(prompt) = mounted.api.prompts.iter().find(|prompt| prompt.name == name) else {
        return failure(id, INVALID_PARAMS, &format!("no prompt {name}"));
    };
    let arguments = match arguments(prompt, parameters) {
        Ok(arguments) => arguments,
        Err(why) => return failure(id, INVALID_PARAMS, &why),
    };
    let written = (prompt.write)(&arguments);
    let mut messages = vec![json!({"role": "user", "content": {"type": "text", "text": written.text}})];
    if let Some(uri) = written.resource {
        match resources::contents(mounted, offered, head, caller, &uri).await {
            Ok(contents) => {
                messages.push(json!({"role": "user", "content": {"type": "resource", "resource": contents}}));
            }
            Err(error) => return json!({"jsonrpc": "2.0", "id": id, "error": error}),
        }
    }
    success(id, &json!({"description": prompt.about, "messages": messages}))
}

fn arguments(prompt: &Prompt, parameters: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut given = BTreeMap::new();
    for (name, value) in parameters.get("arguments").and_then(Value::as_object).into_iter().flatten() {
        if !prompt.arguments.iter().any(|argument| argument.name == name) {
            return Err(format!("the prompt has no argument {name}"));
        }
        let text = value.as_str().filter(|text| text.len() <= ARGUMENT_BYTES_MAX);
        let text = text.ok_or_else(|| format!("the argument {name} is not a short text"))?;
        given.insert(name.clone(), text.to_owned());
    }
    let missing =
        prompt.arguments.iter().find(|argument| argument.is_required && !given.contains_key(argument.name));
    missing.map_or(Ok(given), |argument| Err(format!("the argument {} is missing", argument.name)))
}
