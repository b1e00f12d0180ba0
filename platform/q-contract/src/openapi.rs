//! OpenAPI 3.1 and MCP tool descriptions from the declarations.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{Access, Declaration, codes};

/// The OpenAPI 3.1 document of a module.
pub fn document(module: &str, version: &str, about: &str, declarations: &[Declaration]) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    for declaration in declarations {
        let path = declaration.path.replace("{*", "{");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[declaration.method.as_str().to_lowercase()] = operation(declaration, &mut generator);
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".into(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {"title": module, "version": version, "description": about},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt",
                    "description": "an access token of the instance; bound to a key with DPoP (RFC 9449) where the client can"}
            }
        }
    })
}

fn operation(declaration: &Declaration, generator: &mut SchemaGenerator) -> Value {
    let request = Value::from((declaration.request_schema)(generator));
    let properties = request.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let required: Vec<&str> = request
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let in_path: Vec<&str> = declaration.path_parameters().collect();
    let raw_field = declaration.consumes.map(|(_, field)| field);
    let mut parameters = Vec::new();
    let mut body = Map::new();
    for (name, schema) in properties {
        let is_required = required.contains(&name.as_str());
        if in_path.contains(&name.as_str()) {
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        } else if raw_field == Some(name.as_str()) {
        } else if declaration.method.has_body() && raw_field.is_none() {
            body.insert(name, schema);
        } else {
            parameters.push(json!({"name": name, "in": "query", "required": is_required, "schema": schema}));
        }
    }
    if declaration.method.is_write() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": declaration.needs_key(),
            "schema": {"type": "string", "minLength": 1, "maxLength": 255}
        }));
    }
    let mut operation = json!({
        "operationId": declaration.operation,
        "summary": declaration.summary(),
        "description": declaration.doc.trim(),
        "parameters": parameters,
        "responses": responses(declaration, generator),
        "security": security(declaration.access),
        "x-q-access": access_text(declaration.access),
    });
    if let Some((media_types, _)) = declaration.consumes {
        let content: Map<String, Value> = media_types
            .split(", ")
            .map(|media_type| (media_type.to_owned(), json!({"schema": {"type": "string"}})))
            .collect();
        operation["requestBody"] = json!({"required": true, "content": content});
    } else if declaration.method.has_body() {
        let body_required: Vec<&str> = required.into_iter().filter(|name| body.contains_key(*name)).collect();
        let mut schema = json!({"type": "object", "properties": body, "additionalProperties": false});
        if !body_required.is_empty() {
            schema["required"] = json!(body_required);
        }
        let mut content = json!({"schema": schema});
        if let Some(example) = (declaration.example)() {
            content["example"] = example;
        }
        operation["requestBody"] = json!({"required": true, "content": {"application/json": content}});
    }
    operation
}

fn responses(declaration: &Declaration, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let mut success = json!({"description": "done"});
    if !declaration.produces.is_empty() {
        let schema =
            (declaration.response_schema)(generator).map_or_else(|| json!({"type": "string"}), Value::from);
        success["content"] = json!({declaration.produces: {"schema": schema}});
    }
    responses.insert(declaration.status.to_string(), success);
    let mut refusals: Vec<_> = declaration.errors.to_vec();
    refusals.extend([
        codes::INVALID_REQUEST,
        codes::RATE_LIMITED,
        codes::INTERNAL,
        codes::STORAGE_UNAVAILABLE,
    ]);
    if matches!(declaration.access, Access::Identity(_) | Access::Service | Access::Operator) {
        refusals.extend([codes::UNAUTHENTICATED, codes::FORBIDDEN]);
    }
    for refusal in refusals {
        let line = format!("{}: {}", refusal.code, refusal.title);
        let entry = responses.entry(refusal.status.to_string()).or_insert_with(|| {
            json!({
                "description": "",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            })
        });
        let so_far = entry["description"].as_str().unwrap_or_default();
        entry["description"] =
            if so_far.is_empty() { line.into() } else { format!("{so_far}\n\n{line}").into() };
    }
    Value::Object(responses)
}

fn security(access: Access) -> Value {
    match access {
        Access::Public(_) | Access::Signed => json!([]),
        Access::Identity(_) | Access::Service | Access::Operator => json!([{"token": []}]),
    }
}

fn access_text(access: Access) -> String {
    match access {
        Access::Public(reason) => format!("public: {reason}"),
        Access::Identity(scope) => format!("identity with scope {scope}"),
        Access::Service => "modules of this instance".into(),
        Access::Signed => "the body's own signature".into(),
        Access::Operator => "operators of this instance".into(),
    }
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457 problem details",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
            "code": {"type": "string"}, "detail": {"type": "string"}, "hint": {"type": "string"},
            "traceId": {"type": "string"}
        }
    })
}

/// The MCP tools among the declarations, as `tools/list` answers them.
pub fn tools(declarations: &[Declaration]) -> Vec<Value> {
    declarations
        .iter()
        .filter_map(|declaration| {
            let name = declaration.tool?;
            let mut generator = SchemaSettings::draft2020_12().into_generator();
            let mut schema = Value::from((declaration.request_schema)(&mut generator));
            let definitions = generator.take_definitions(true);
            if !definitions.is_empty() {
                schema["$defs"] = Value::Object(definitions);
            }
            schema["type"] = json!("object");
            Some(json!({"name": name, "description": declaration.doc.trim(), "inputSchema": schema}))
        })
        .collect()
}
