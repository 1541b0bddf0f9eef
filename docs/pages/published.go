package main

// publishedRows are the tables "Advanced features and flexibility" and "Common features" of
// the Kubernetes documentation, in short (kubernetes.io/docs/concepts/extend-kubernetes/
// api-extension/custom-resources, read for v1.36), with what the cases say of each.
var publishedRows = []said{
	{"Validation", "yes: OpenAPI, or a webhook", "yes, any", "still right. CEL has taken over most of what took a webhook, and ratcheting lets old objects live with new rules ([validation](validation.md)). What is left for code is a rule about other objects, and to say all errors at once."},
	{"Defaulting", "yes: OpenAPI, or a webhook", "yes", "still right, and nearly the same for users. A schema's default is static and is filled in where a parent is there ([defaulting](defaulting.md))."},
	{"Multi-versioning", "yes", "yes", "still right. The CRD's costs a webhook, for which writes and gets in another version wait, and lists from the cache do not ([conversion](conversion.md))."},
	{"Custom Storage", "no", "yes", "still right ([storage](storage.md))."},
	{"Custom Business Logic", "yes, by webhooks", "yes", "right, but an admission webhook sees writes alone: nothing computes what is read ([subresources](subresources.md))."},
	{"Scale Subresource", "yes", "yes", "still right; server-side apply of a Scale works with the server only (`scale/apply`)."},
	{"Status Subresource", "yes", "yes", "still right; the words of what is refused differ, and so does what is left of an empty status (`schema/empty-status`)."},
	{"Other Subresources", "no", "yes", "still right, and a reason that projects give for a server ([choose](choose.md#what-projects-did))."},
	{"strategic-merge-patch", "no", "yes", "still right, and server-side apply has taken its place in both ([encodings](encodings.md))."},
	{"Protocol Buffers", "no", "yes", "still right: only for a server whose types have it, and of a CRD for metadata and errors alone ([encodings](encodings.md))."},
	{"OpenAPI Schema", "yes", "yes", "right, but they are not alike: the CRD publishes its rules, the server the types of Go ([openapi](openapi.md))."},
	{"Instance Name", "a DNS subdomain", "no constraint", "still right, if the server's strategy says so; generic clients expect no more than a path segment."},

	{"CRUD", "yes", "yes", "still right; codes and words of what fails differ in places, and the CRD alone answers HEAD (`crud/head`)."},
	{"Watch", "yes", "yes", "still right; bookmarks, streaming lists and resumption are there in both ([watch](watch.md))."},
	{"Discovery", "yes", "yes", "right, but a server that is down goes stale in discovery, and out of OpenAPI v3 ([openapi](openapi.md))."},
	{"json-patch", "yes", "yes", "still right, the same but for the words that refuse another content type."},
	{"merge-patch", "yes", "yes", "still right; patches that change apiVersion or kind come to another end (`conversion/patch-to-other`, `patch/identity`)."},
	{"HTTPS", "yes", "yes", "right, but the server has to bring certificates, and renew them ([operations](operations.md))."},
	{"Built-in Authentication", "yes", "yes", "right by delegation: request headers through the aggregation layer; past it certificates, and tokens by TokenReviews ([authentication](authentication.md))."},
	{"Built-in Authorization", "yes", "yes", "right by delegation, which costs a request where nothing is cached ([authorization](authorization.md))."},
	{"Finalizers", "yes", "yes", "still right; the CRD also warns of a name without a domain (`lifecycle/finalizer-names`)."},
	{"Admission Webhooks", "yes", "yes", "still right, and policies in CEL too; the server calls them itself, and needs the rights for that ([admission](admission.md))."},
	{"UI/CLI Display", "yes", "yes", "still right: columns are declared in the CRD, and made by code in the server ([watch](watch.md))."},
	{"Unset versus Empty", "yes", "yes", "still right, where the types of Go say so with pointers."},
	{"Client Libraries Generation", "yes", "yes", "right for types written in Go; a client made of the OpenAPI document knows the CRD's rules, and not the server's, but has a type for the spec of the server's alone (`openapi/models`)."},
	{"Labels and annotations", "yes", "yes", "still right, the same."},
}
