//! The table of rules. Prefixes, alphabets and lengths are those that the issuers document, or that their tokens show.

use std::ops::Range;

use super::Certainty;
use super::form;
use crate::finding::Severity;

/// One kind of secret.
#[derive(Debug)]
pub struct Rule {
    pub id: &'static str,
    /// `GitHub token`
    pub title: &'static str,
    pub severity: Severity,
    /// Words of which one stands in every secret of the kind.
    pub(super) anchors: &'static [&'static str],
    /// Whether the bytes around an anchor are such a secret, and which of them.
    pub(super) check: fn(&[u8], Range<usize>) -> Option<Verdict>,
    /// Its first characters may be shown: they are the kind's prefix.
    pub(super) is_start_shown: bool,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.id == other.id
    }
}

impl Eq for Rule {}

/// What a rule's check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) range: Range<usize>,
    pub(super) certainty: Certainty,
}

const fn rule(
    id: &'static str,
    title: &'static str,
    severity: Severity,
    anchors: &'static [&'static str],
    check: fn(&[u8], Range<usize>) -> Option<Verdict>,
) -> Rule {
    Rule { id, title, severity, anchors, check, is_start_shown: true }
}

const fn unshown(rule: Rule) -> Rule {
    Rule { is_start_shown: false, ..rule }
}

/// Rules without anchors are those of whole files, whose path says what they are.
#[rustfmt::skip]
pub static RULES: [Rule; 31] = [
    unshown(rule("private-key", "private key", Severity::High, &["-----BEGIN "], form::private_key)),
    unshown(rule("gcp-service-account", "key of a Google Cloud service account", Severity::Critical, &["\"private_key\""], form::service_account)),
    unshown(rule("aws-secret-access-key", "AWS secret access key", Severity::Critical,
        &["aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "SecretAccessKey", "secretAccessKey"], form::aws_secret)),
    rule("aws-access-key-id", "AWS access key ID", Severity::Medium, &["AKIA", "ASIA"], form::aws_id),
    rule("github-token", "GitHub token", Severity::Critical, &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], form::checked_token),
    rule("github-fine-grained-token", "GitHub fine-grained token", Severity::Critical, &["github_pat_"], form::github_fine),
    rule("gitlab-token", "GitLab token", Severity::Critical,
        &["glpat-", "glptt-", "gldt-", "glrt-", "glsoat-", "glcbt-"], form::gitlab),
    rule("npm-token", "npm token", Severity::Critical, &["npm_"], form::checked_token),
    unshown(rule("npm-registry-login", "login of an npm registry", Severity::High, &[":_authToken=", ":_password="], form::npm_login)),
    rule("python-index-token", "token of Python's package index", Severity::Critical, &["pypi-AgE"], form::python_index),
    rule("huggingface-token", "Hugging Face token", Severity::High, &["hf_"], form::huggingface),
    rule("openai-key", "OpenAI API key", Severity::High, &["T3BlbkFJ"], form::openai),
    rule("anthropic-key", "Anthropic API key", Severity::High, &["sk-ant-api", "sk-ant-admin"], form::anthropic),
    rule("slack-token", "Slack token", Severity::High, &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"], form::slack),
    rule("slack-app-token", "Slack app token", Severity::High, &["xapp-1-"], form::slack_app),
    unshown(rule("slack-webhook", "Slack webhook", Severity::Medium, &["hooks.slack.com/services/"], form::slack_webhook)),
    rule("google-api-key", "Google API key", Severity::Medium, &["AIza"], form::google_api),
    rule("stripe-key", "Stripe live key", Severity::Critical, &["sk_live_", "rk_live_"], form::stripe),
    rule("sendgrid-key", "SendGrid API key", Severity::High, &["SG."], form::sendgrid),
    rule("databricks-token", "Databricks token", Severity::High, &["dapi"], form::databricks),
    rule("digitalocean-token", "DigitalOcean token", Severity::High, &["dop_v1_", "doo_v1_", "dor_v1_"], form::digitalocean),
    unshown(rule("azure-storage-key", "key of an Azure storage account", Severity::High, &["AccountKey="], form::azure_storage)),
    rule("vault-token", "HashiCorp Vault token", Severity::High, &["hvs.", "hvb."], form::vault),
    rule("age-secret-key", "age secret key", Severity::High, &["AGE-SECRET-KEY-1"], form::age),
    rule("watchbell-token", "Watchbell token", Severity::Critical, &["wbt_"], form::watchbell),
    unshown(rule("kubeconfig-key", "client key in a kubeconfig", Severity::High, &["client-key-data:"], form::kubeconfig)),
    unshown(rule("password-in-url", "password in a URL", Severity::Medium, &["://"], form::url_password)),
    unshown(rule("docker-login", "login of a container registry", Severity::High, &[], form::none)),
    unshown(rule("netrc-login", "login in a .netrc", Severity::High, &[], form::none)),
    unshown(rule("pypirc-login", "login in a .pypirc", Severity::High, &[], form::none)),
    unshown(rule("git-credentials", "login in a .git-credentials", Severity::High, &[], form::none)),
];

/// The rule of that name.
///
/// # Panics
/// When there is none: names are written in this module's neighbours, and their tests use each.
pub(super) fn named(id: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.id == id).expect("a rule of the table")
}
