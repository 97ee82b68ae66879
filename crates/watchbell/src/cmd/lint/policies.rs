//! ValidatingAdmissionPolicies from files, and the objects that they need beside what they judge.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::{Resource, Uid, defaults, schema, validate};
use watchbell_core::access::Deed;
use watchbell_core::admission::policies::{
    Attributes, Binding, Budget, Chosen, Judgement, Operation, Place, Policy, Surroundings, judge,
};
use watchbell_core::request::User;
use watchbell_core::world::check_new;

use crate::exit::Failure;
use crate::manifest::{Document, Recursive, read_all};

/// Policies with their bindings, and namespaces and parameter objects.
#[derive(Default)]
pub(super) struct Given {
    policies: Vec<(Arc<Policy>, Vec<Arc<Binding>>)>,
    objects: Vec<(Resource, Value)>,
    namespace: String,
}

/// Who creates an object that is judged.
#[derive(Debug, Clone, Copy)]
pub(super) enum Author {
    Person,
    /// The controller of the CronJob whose Job it is.
    CronJob,
}

impl Given {
    /// Reads the files of `--policy`.
    ///
    /// # Errors
    /// When a file cannot be read, or holds an object that no server would take.
    pub(super) fn read(files: &[std::path::PathBuf], namespace: &str) -> Result<Given, Failure> {
        let mut given = Given { namespace: namespace.to_owned(), ..Given::default() };
        if files.is_empty() {
            return Ok(given);
        }
        let (mut policies, mut bindings) = (Vec::new(), Vec::new());
        for Document { object, place, .. } in read_all(files, Recursive::No)? {
            let (resource, object) = given.stored(object).map_err(|why| {
                Failure::Usage(format!(
                    "cannot judge by {place}: {why}; correct it, or leave it out of --policy"
                ))
            })?;
            match resource {
                Resource::ValidatingAdmissionPolicy => policies.push(object),
                Resource::ValidatingAdmissionPolicyBinding => bindings.push(object),
                _ => given.objects.push((resource, object)),
            }
        }
        for policy in policies {
            let name = &policy["metadata"]["name"];
            let own = bindings.iter().filter(|binding| binding["spec"]["policyName"] == *name);
            let mut own: Vec<Arc<Binding>> = own.map(|binding| Arc::new(Binding::read(binding))).collect();
            if own.is_empty() {
                own.push(Arc::new(Binding::read(&everywhere(name))));
            }
            given.policies.push((Arc::new(Policy::read(&policy)), own));
        }
        Ok(given)
    }

    /// As a server would store it, without what only a server knows.
    fn stored(&self, mut object: Value) -> Result<(Resource, Value), String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let resource = Resource::from_kind(&api_version, &kind)
            .ok_or_else(|| format!("there is no {api_version} {kind}"))?;
        let name = text(&object["metadata"]["name"]);
        let refused = |errors: Vec<String>| Err(format!("{kind} {name}: {}", errors.join("; ")));
        let report = schema::check(resource, &mut object, schema::Prune::Unknown);
        let unknown = report.unknown.iter().map(|path| format!("unknown field {path:?}"));
        let misread: Vec<String> =
            report.type_errors.iter().map(ToString::to_string).chain(unknown).collect();
        if !misread.is_empty() {
            return refused(misread);
        }
        if resource.is_namespaced() && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = self.namespace.as_str().into();
        }
        defaults::apply(resource, &mut object);
        match check_new(resource, &mut object, &name, Uid::default()) {
            Ok(_) => Ok((resource, object)),
            Err(errors) => refused(errors.iter().map(ToString::to_string).collect()),
        }
    }

    fn all<'g>(&'g self, resource: Resource, namespace: Option<&'g str>) -> impl Iterator<Item = &'g Value> {
        let is_meant =
            move |object: &&Value| namespace.is_none_or(|wanted| object["metadata"]["namespace"] == wanted);
        self.objects.iter().filter(move |(of, _)| *of == resource).map(|(_, object)| object).filter(is_meant)
    }

    pub(super) fn are_none(&self) -> bool {
        self.policies.is_empty()
    }

    /// A namespace among the manifests, whose labels selectors look at.
    pub(super) fn add_namespace(&mut self, mut namespace: Value) {
        defaults::apply(Resource::Namespace, &mut namespace);
        self.objects.push((Resource::Namespace, namespace));
    }

    /// What the policies say when the object is created. Who creates it is not known here, and may nothing.
    pub(super) fn judge(
        &self,
        author: Author,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &Value,
    ) -> Judgement {
        let user = match (author, resource) {
            // Pods of templates are made by a controller; whoever judges users leaves those out.
            (_, Resource::Pod) => User::service_account("kube-system", "job-controller"),
            (Author::CronJob, _) => User::service_account("kube-system", "cronjob-controller"),
            (Author::Person, _) => {
                User { name: "lint".into(), groups: vec!["system:authenticated".into()], ..User::default() }
            }
        };
        let attributes = Attributes {
            namespace: if resource == Resource::Namespace { name } else { namespace },
            name,
            object: Some(object),
            ..Attributes::new(Operation::Create, resource, &user)
        };
        judge(&attributes, self, &mut Budget::default())
    }
}

/// For a policy that no binding among the files puts into force.
fn everywhere(policy: &Value) -> Value {
    json!({"metadata": {"name": policy}, "spec": {"policyName": policy, "validationActions": ["Deny"]}})
}

impl Surroundings for Given {
    fn policies(&self) -> Vec<(Arc<Policy>, Vec<Arc<Binding>>)> {
        self.policies.clone()
    }

    fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let within = Some(namespace).filter(|namespace| !namespace.is_empty());
        let found = self.all(resource, within).find(|object| object["metadata"]["name"] == name).cloned();
        // A namespace that is not among the files has the label that each has.
        found.or_else(|| {
            (resource == Resource::Namespace).then(|| {
                let mut namespace =
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                defaults::apply(resource, &mut namespace);
                namespace
            })
        })
    }

    fn chosen(&self, resource: Resource, namespace: Option<&str>, selector: &Value, max: usize) -> Chosen {
        let text = |value: &Value| value.as_str().unwrap_or_default().into();
        let places = self
            .all(resource, namespace)
            .filter(|object| validate::selects(selector, &object["metadata"]["labels"]))
            .take(max)
            .map(|object| Place {
                namespace: text(&object["metadata"]["namespace"]),
                name: text(&object["metadata"]["name"]),
            });
        Chosen { places: places.collect(), looked: self.objects.len() }
    }

    fn decide(&self, _: &User, _: &Deed<'_>) -> (bool, String) {
        (false, String::new())
    }
}
