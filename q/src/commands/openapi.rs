//! `q openapi`: the contracts, from the endpoint declarations of modules opened on an empty folder.

use std::{collections::BTreeMap, fs, process::ExitCode};

use anyhow::Context as _;
use q_contract::{Access, codes};
use serde_json::{Value, json};

use crate::{
    cli::{Cli, OpenapiArgs},
    commands::init,
    compose::{self, Options},
    layout::Layout,
    output::{self, usage},
};

pub async fn run(_: &Cli, arguments: &OpenapiArgs) -> anyhow::Result<ExitCode> {
    let scratch = std::env::temp_dir().join(format!("q-openapi-{}", std::process::id()));
    let layout = Layout::of(&scratch);
    let documents = documents(&layout).await;
    // Whatever happened, nothing of the scratch instance stays behind.
    let _ = fs::remove_dir_all(&layout.data);
    let _ = fs::remove_dir_all(&layout.keys);
    let documents = documents?;
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder)?;
        for (name, document) in &documents {
            let path = folder.join(format!("{name}.json"));
            let text = format!("{}\n", serde_json::to_string_pretty(document)?);
            fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let module = arguments.module.as_deref();
    let module = module.ok_or_else(|| usage("name a module, or a folder with --out"))?;
    let document = documents.get(compose::entry(module)?.name).context("the module has no document")?;
    output::line(serde_json::to_string_pretty(document)?);
    Ok(ExitCode::SUCCESS)
}

/// The OpenAPI document of each module; `errors`: every code that exists; `public`: every endpoint that asks for no
/// credential, with the reason.
async fn documents(layout: &Layout) -> anyhow::Result<BTreeMap<String, Value>> {
    init::make_quietly(layout, true).await?;
    let house = compose::assemble(layout, &Options::offline()).await?.house;
    let mut documents = BTreeMap::new();
    let mut errors: BTreeMap<String, Value> = BTreeMap::new();
    let mut public: BTreeMap<String, &str> = BTreeMap::new();
    for beam in house.beams() {
        documents.insert(beam.module.name().to_owned(), beam.module.api().openapi());
        for declaration in &beam.declarations {
            if let Access::Public(reason) = declaration.access {
                let (method, path) = (declaration.method.as_str(), declaration.path);
                public.insert(format!("{method} /{}{path}", beam.module.name()), reason);
            }
        }
        let own = beam.declarations.iter().flat_map(|declaration| declaration.errors);
        for code in own.chain(codes::ALL) {
            errors.insert(code.code.to_owned(), json!({"status": code.status, "title": code.title}));
        }
    }
    house.stop().await;
    documents.insert("errors".to_owned(), json!(errors));
    documents.insert("public".to_owned(), json!(public));
    Ok(documents)
}
