//! LIST: walks through a snapshot in pieces, so that a hundred thousand objects neither fill the memory nor hold up a
//! thread that others need.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use watchbell_api::protobuf::Encoder;
use watchbell_api::{ApiError, Reason, Resource, decode, table};

use super::Selection;
use crate::app::{App, Call};
use crate::blocking::blocking;
use crate::body::{self, Body};
use crate::hub;
use crate::limits::Holder;
use crate::pins::{Seen, Token};
use crate::present::{self, Include};
use crate::request::ObjectPath;
use crate::request::accept::{Answer, Encoding, Shape};
use crate::request::options::{ListOptions, Version};
use crate::respond::{self, GZIP_FROM_BYTES, Gzip};
use crate::view::View;

/// How many objects are looked at in one go on a blocking thread.
const PIECE_OBJECTS: usize = 2048;
/// A piece ends when it has grown to this.
const PIECE_BYTES: usize = GZIP_FROM_BYTES;
/// A list in protobuf up to this is made once and kept until it is taken; a larger one is made twice.
const SMALL_BYTES: usize = 1 << 20;

pub(crate) async fn list(app: &Arc<App>, call: &Call, path: &ObjectPath) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[Shape::Table, Shape::MetadataList])?;
    let options = ListOptions::read(&call.query, false)?;
    let selection = Selection::read(path.resource, &options, None)?;
    let mut start_after = None;
    let seen = match &options.continue_token {
        Some(text) => {
            let token = Token::decode(text)?;
            let seen = token.state(app.state.pins(), || app.state.snapshot())?;
            start_after = Some((token.namespace, token.name));
            seen
        }
        None => newest_or_exact(app, &options)?,
    };
    let form = match answer.encoding {
        Encoding::Json => Form::Json,
        Encoding::Yaml => Form::Yaml,
        Encoding::Protobuf => {
            let (kind, api_version, _) = present::list_frame(path.resource, answer.shape);
            Form::Protobuf(Encoder::of(&api_version, &kind)?)
        }
    };
    let mut walk = Walk {
        is_paged: options.limit > 0,
        left: if options.limit == 0 { usize::MAX } else { options.limit },
        resource: path.resource,
        namespace: path.namespace.clone(),
        selection,
        shape: answer.shape,
        view: View::of(answer, Include::read(&call.query)?),
        form,
        metadata: Vec::new(),
        cursor: start_after,
        stage: WalkStage::Head,
        has_elements: false,
        continues: false,
        seen,
        holder: call.holder.clone(),
    };
    let mut length = None;
    if let Form::Protobuf(encoder) = &walk.form {
        let encoder = encoder.clone();
        let (walked, measured) = blocking(move || measure(walk, &encoder, SMALL_BYTES)).await.flatten()?;
        match measured {
            Measured::Small(content) => {
                walked.pin(app);
                let content = Bytes::from(content);
                let response = respond::bytes(StatusCode::OK, &answer.content_type(), content, call.gzip);
                return app.answers.hold(&call.holder, response);
            }
            Measured::Large(again, bytes) => (walk, length) = (*again, Some(bytes)),
        }
    }
    let (walk_again, first) = blocking(move || {
        let first = walk.piece();
        (walk, first)
    })
    .await?;
    walk = walk_again;
    let first = first?;
    if walk.stage == WalkStage::Done {
        walk.pin(app);
        let content = Bytes::from(first);
        let response = respond::bytes(StatusCode::OK, &answer.content_type(), content, call.gzip);
        return app.answers.hold(&call.holder, response);
    }
    let share = app.answers.of_flow(&call.holder)?;
    let (flow, body) = match (length, call.gzip) {
        (Some(length), Gzip::No) => body::flowing_exactly(length),
        _ => body::flowing(),
    };
    let body = body::holding(body, share);
    let mut encoder = match call.gzip {
        Gzip::Taken => Some(GzEncoder::new(Vec::new(), Compression::fast())),
        Gzip::No => None,
    };
    let response = match call.gzip {
        Gzip::Taken => respond::zipped(&answer.content_type(), body),
        Gzip::No => respond::stream(&answer.content_type(), body),
    };
    let (app, tenure) = (app.clone(), call.tenure.clone());
    tokio::spawn(async move {
        let mut piece = first;
        loop {
            let is_last = walk.stage == WalkStage::Done;
            let made = blocking(move || {
                let out = match (encoder.take(), is_last) {
                    (None, _) => piece,
                    (Some(mut gz), false) => {
                        // Writing to memory does not fail.
                        let _ = gz.write_all(&piece);
                        let out = std::mem::take(gz.get_mut());
                        encoder = Some(gz);
                        out
                    }
                    (Some(mut gz), true) => {
                        let _ = gz.write_all(&piece);
                        gz.finish().unwrap_or_default()
                    }
                };
                let next = if is_last { Ok(Vec::new()) } else { walk.piece() };
                next.map(|next| (walk, encoder, out, next))
            })
            .await;
            let (walk_again, encoder_again, out, next) = match made.flatten() {
                Ok(made) => made,
                Err(error) => {
                    // Most likely the thread ended: the server does too.
                    flow.fail(std::io::Error::other(error.message)).await;
                    return;
                }
            };
            (walk, encoder, piece) = (walk_again, encoder_again, next);
            if is_last {
                // Before the client can ask for the next page.
                walk.pin(&app);
            }
            // A client that reads slowly may have been sent away since the last piece.
            if let Err(refusal) = tenure.confirm() {
                flow.fail(std::io::Error::other(refusal.message)).await;
                return;
            }
            if !out.is_empty() && flow.send(Bytes::from(out)).await.is_err() {
                return;
            }
            if is_last {
                return;
            }
        }
    });
    Ok(response)
}

fn newest_or_exact(app: &App, options: &ListOptions) -> Result<Seen, ApiError> {
    let seen = app.state.pins().seen(|| app.state.snapshot());
    let Version::At(version) = options.version else { return Ok(seen) };
    hub::require_reached(version, seen.snapshot.resource_version())?;
    if options.is_exact && version != seen.snapshot.resource_version() {
        return app.state.pins().at(version, Instant::now()).ok_or_else(|| {
            ApiError::new(
                Reason::Expired,
                format!("The resourceVersion for the provided list is too old: {version}: leave out Exact"),
            )
        });
    }
    Ok(seen)
}

/// A list in protobuf that was gone through once.
enum Measured {
    /// It is small, and lies ready.
    Small(Vec<u8>),
    /// It is made once more while it is sent. So many bytes are to come.
    Large(Box<Walk>, u64),
}

/// The envelope says how long the list is before it begins, and what it says of itself stands first and is known last. So the
/// list is gone through once for its length; what would be more than `small_max` is not kept meanwhile.
fn measure(mut walk: Walk, encoder: &Encoder, small_max: usize) -> Result<(Walk, Measured), ApiError> {
    let again = walk.clone();
    let (mut elements, mut kept) = (0, Vec::new());
    while walk.stage != WalkStage::Done {
        let piece = walk.piece()?;
        elements += piece.len();
        if elements <= small_max {
            kept.extend_from_slice(&piece);
        } else {
            kept = Vec::new();
        }
    }
    let head = [encoder.head(walk.metadata.len() + elements), std::mem::take(&mut walk.metadata)].concat();
    let measured = if elements <= small_max {
        Measured::Small([&head, &kept[..], Encoder::tail()].concat())
    } else {
        let length = head.len() + elements + Encoder::tail().len();
        let form = Form::Measured { encoder: encoder.clone(), left: elements };
        Measured::Large(Box::new(Walk { form, metadata: head, ..again }), length as u64)
    };
    Ok((walk, measured))
}

/// In which bytes a list is sent.
#[derive(Clone)]
enum Form {
    Json,
    Yaml,
    /// Its elements alone; what it says of itself is put aside.
    Protobuf(Encoder),
    /// The same with all that belongs to it, once it is known what that is and how many bytes of elements are left.
    Measured {
        encoder: Encoder,
        left: usize,
    },
}

/// A list on its way: what was written so far ends at the cursor.
#[derive(Clone)]
struct Walk {
    seen: Seen,
    /// For whom the state is kept between the pages.
    holder: Holder,
    resource: Resource,
    namespace: Option<String>,
    selection: Selection,
    shape: Shape,
    view: View,
    form: Form,
    /// What a list in protobuf says of itself, which stands first though it is known last.
    metadata: Vec<u8>,
    is_paged: bool,
    left: usize,
    cursor: Option<(String, String)>,
    stage: WalkStage,
    has_elements: bool,
    continues: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WalkStage {
    Head,
    Elements,
    Done,
}

impl Walk {
    /// The next bytes of the list.
    fn piece(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        if self.stage == WalkStage::Head {
            self.head(&mut out)?;
            self.stage = WalkStage::Elements;
        }
        let before = out.len();
        // Elements in YAML are made of those in JSON.
        let mut json = Vec::new();
        let is_over = self.elements(&mut out, &mut json)?;
        if !json.is_empty() {
            self.elements_as_yaml(&json, &mut out)?;
        }
        if let Form::Measured { left, .. } = &mut self.form {
            *left = left
                .checked_sub(out.len() - before)
                .ok_or_else(|| ApiError::internal("a list grew while it was sent"))?;
        }
        if is_over {
            self.tail(&mut out)?;
        }
        Ok(out)
    }

    /// Writes the next elements, those in YAML as JSON into `json`. Whether there are no more.
    fn elements(&mut self, out: &mut Vec<u8>, json: &mut Vec<u8>) -> Result<bool, ApiError> {
        let snapshot = self.seen.snapshot.clone();
        let namespace = self.namespace.clone();
        let cursor = self.cursor.clone();
        let start_after = cursor.as_ref().map(|(ns, name)| (ns.as_str(), name.as_str()));
        let mut objects = snapshot.list(self.resource.stored(), namespace.as_deref(), start_after);
        for _ in 0..PIECE_OBJECTS {
            if self.left == 0 {
                self.continues = objects.next().is_some();
                return Ok(true);
            }
            let Some(stored) = objects.next() else { return Ok(true) };
            self.cursor = Some((stored.namespace.to_string(), stored.name.to_string()));
            if !self.selection.matches(stored) {
                continue;
            }
            self.left -= 1;
            match &self.form {
                Form::Protobuf(encoder) | Form::Measured { encoder, .. } => {
                    encoder.item(&present::shown(self.resource, stored), out)?;
                }
                Form::Json => {
                    if self.has_elements {
                        out.push(b',');
                    }
                    self.has_elements = true;
                    self.view.stored(self.resource, stored, out)?;
                }
                Form::Yaml => {
                    json.push(if json.is_empty() { b'[' } else { b',' });
                    self.view.stored(self.resource, stored, json)?;
                }
            }
            if out.len() + json.len() >= PIECE_BYTES {
                break;
            }
        }
        Ok(false)
    }

    /// `json` is a list that is not closed.
    fn elements_as_yaml(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        if !self.has_elements {
            self.has_elements = true;
            let (.., elements) = present::list_frame(self.resource, self.shape);
            out.extend_from_slice(format!("{elements}:\n").as_bytes());
        }
        let items = serde_json::from_slice(&[json, b"]"].concat())
            .map_err(|e| ApiError::internal(format!("cannot make YAML: {e}")))?;
        out.extend_from_slice(&yaml(&items)?);
        Ok(())
    }

    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        match self.form {
            Form::Protobuf(_) => return Ok(()),
            Form::Measured { .. } => {
                out.append(&mut self.metadata);
                return Ok(());
            }
            Form::Json | Form::Yaml => {}
        }
        let (kind, api_version, elements) = present::list_frame(self.resource, self.shape);
        let mut head = json!({"kind": kind, "apiVersion": api_version});
        if self.shape == Shape::Table {
            head["columnDefinitions"] = table::columns(self.resource);
        }
        if matches!(self.form, Form::Yaml) {
            out.extend_from_slice(&yaml(&head)?);
            return Ok(());
        }
        let text = head.to_string();
        out.extend_from_slice(text.strip_suffix('}').unwrap_or(&text).as_bytes());
        out.extend_from_slice(format!(",\"{elements}\":[").as_bytes());
        Ok(())
    }

    /// The metadata come last: only now is it known whether the list continues.
    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let mut metadata = json!({"resourceVersion": self.seen.snapshot.resource_version().to_string()});
        if self.continues
            && let Some((namespace, name)) = &self.cursor
        {
            let token = Token {
                version: Some(self.seen.snapshot.resource_version()),
                namespace: namespace.clone(),
                name: name.clone(),
            };
            metadata["continue"] = token.encode().into();
            if self.selection.is_all() {
                let rest = self.seen.snapshot.list(
                    self.resource.stored(),
                    self.namespace.as_deref(),
                    Some((namespace, name)),
                );
                metadata["remainingItemCount"] = rest.count().into();
            }
        }
        match &self.form {
            Form::Protobuf(encoder) => encoder.message(&json!({"metadata": metadata}), &mut self.metadata)?,
            Form::Measured { left: 0, .. } => out.extend_from_slice(Encoder::tail()),
            Form::Measured { .. } => return Err(ApiError::internal("a list shrank while it was sent")),
            Form::Json => out.extend_from_slice(format!("],\"metadata\":{metadata}}}\n").as_bytes()),
            Form::Yaml => {
                if !self.has_elements {
                    let (.., elements) = present::list_frame(self.resource, self.shape);
                    out.extend_from_slice(format!("{elements}: []\n").as_bytes());
                }
                out.extend_from_slice(&yaml(&json!({"metadata": metadata}))?);
            }
        }
        self.stage = WalkStage::Done;
        Ok(())
    }

    /// Keeps the snapshot for the next page.
    fn pin(&self, app: &App) {
        if self.is_paged && self.continues {
            app.state.pins().keep(&self.seen, &self.holder, Instant::now());
        }
    }
}

fn yaml(value: &Value) -> Result<Vec<u8>, ApiError> {
    let text = decode::to_yaml(value).map_err(|e| ApiError::internal(format!("cannot make YAML: {e}")))?;
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::Told;
    use crate::pins::Pins;

    fn walk(form: Form) -> Walk {
        let told = Told::new();
        Walk {
            seen: Pins::new().seen(|| Arc::new(told.world.snapshot())),
            holder: Holder::Local(0),
            resource: Resource::Namespace,
            namespace: None,
            selection: Selection::read(Resource::Namespace, &ListOptions::default(), None).unwrap(),
            shape: Shape::Object,
            view: View::Json,
            form,
            metadata: Vec::new(),
            is_paged: false,
            left: usize::MAX,
            cursor: None,
            stage: WalkStage::Head,
            has_elements: false,
            continues: false,
        }
    }

    fn measured(small_max: usize) -> Measured {
        let encoder = Encoder::of("v1", "NamespaceList").unwrap();
        measure(walk(Form::Protobuf(encoder.clone())), &encoder, small_max).unwrap().1
    }

    #[test]
    fn a_list_in_protobuf_is_kept_only_when_it_is_small() {
        let Measured::Small(whole) = measured(1 << 20) else { panic!("it was not kept") };
        let Measured::Large(mut walk, length) = measured(whole.len() / 2) else { panic!("it was kept") };
        let mut sent = Vec::new();
        while walk.stage != WalkStage::Done {
            sent.extend_from_slice(&walk.piece().unwrap());
        }
        assert_eq!((&sent, length), (&whole, whole.len() as u64));
    }

    /// A length that was promised is kept, or the answer breaks off.
    #[test]
    fn a_list_that_is_not_as_long_as_it_was_is_not_sent() {
        for wrong in [-1, 1] {
            let Measured::Large(mut walk, _) = measured(0) else { panic!("it was kept") };
            let Form::Measured { left, .. } = &mut walk.form else { panic!("it was not measured") };
            *left = left.saturating_add_signed(wrong);
            assert!(walk.piece().is_err(), "{wrong}");
        }
    }
}
