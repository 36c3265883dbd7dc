package diag

import "slices"

// catalogue documents every code, in the order of codes.go. It never changes after start.
var catalogue = []Entry{
	{AnnotationValue, "A value the annotation does not accept",
		"The text of an annotation is not what its grammar allows. What lintel does meanwhile depends on the annotation: it uses the default, answers 503 on the routes of the Ingress, or keeps serving the last accepted revision. Write a value as the annotation's reference page describes it."},
	{AnnotationUnknown, "No such annotation",
		"The annotation has the prefix lintel reads, but lintel knows no annotation of that name. It is ignored. Check the spelling; the hint names the closest known one."},
	{AnnotationRemoved, "An annotation ingress-nginx has removed",
		"Releases of ingress-nginx once had this annotation and dropped it. It is ignored here as it is there. Remove it, or use what the hint names."},
	{AnnotationNoEffect, "An annotation that needs nothing doing",
		"The annotation configured a part of nginx that lintel does not have, or what it asks for always holds. It is accepted and does nothing."},
	{AnnotationLater, "An annotation lintel does not implement yet",
		"ingress-nginx has this annotation and lintel knows it, but this release does nothing with it. The message says what happens to the routes meanwhile. See the differences page for what is planned."},
	{AnnotationRisk, "An annotation above the allowed risk",
		"The ConfigMap key annotations-risk-level forbids annotations of this risk. The Ingress is not accepted. Remove the annotation, or raise the level if you trust everybody who may write Ingresses."},
	{AnnotationConflict, "A setting of the whole host that another Ingress has made",
		"Several Ingresses share a host and ask for different values of a setting that the host has once. The oldest Ingress wins. Write the same value everywhere, or only once."},
	{SnippetRefused, "A snippet that is not allowed or not understood",
		"Snippets are off unless allow-snippet-annotations is on, and then only the directives lintel translates are accepted. Use the annotation that does the same; the hint names it where there is one."},
	{ConfigMapValue, "A value the ConfigMap key does not accept",
		"The value of a key in the controller's ConfigMap is not what its grammar allows. The default of that key holds, which the hint names, and all other keys apply. A key that protects, such as global-auth-url, closes the routes concerned instead."},
	{ConfigMapUnknown, "No such ConfigMap key",
		"The controller's ConfigMap has a key lintel does not know. It is ignored. Check the spelling."},
	{ConfigMapNoEffect, "A ConfigMap key that needs nothing doing",
		"The key configured a part of nginx that lintel does not have, or what it asks for always holds. It is accepted and does nothing."},
	{ConfigMapLater, "A ConfigMap key lintel does not implement yet",
		"ingress-nginx has this key and lintel knows it, but this release does nothing with it. See the differences page for what is planned."},
	{ReferenceMissing, "An object that is not there",
		"An object names another one (a Secret, a ConfigMap, a Service) that does not exist. Create it; lintel takes it up at once. Protections that depend on it stay closed until then."},
	{ReferenceInvalid, "An object that cannot be used",
		"The object named exists, but its content is not what is needed: a key is missing, or a value does not parse. Protections that depend on it stay closed until it is repaired."},
	{ReferenceForbidden, "A reference into another namespace",
		"An Ingress may only use objects of its own namespace, unless the ConfigMap key allow-cross-namespace-resources is true. Move or copy the object into the namespace of the Ingress."},
	{ServicePort, "A Service port that does not exist",
		"The Service has no port of this number or name. The routes to it answer 503. Use a port from the Service's spec.ports."},
	{ServiceEndpoints, "A Service without endpoints",
		"No ready endpoint stands behind the Service, so its routes answer 503. Check that the Service's selector matches the pods' labels and that the pods are ready."},
	{CertificateInvalid, "A certificate that cannot be used",
		"The TLS Secret has no readable certificate and key that belong together. The default certificate is served instead. Put PEM text into tls.crt and tls.key."},
	{CertificateExpired, "A certificate out of its time",
		"The certificate has expired or is not valid yet. It is served nevertheless; clients will refuse it. Renew it."},
	{CertificateName, "A certificate for other names",
		"The certificate does not cover the host it is used for. Clients will refuse the connection. Request a certificate with that name in its subject alternative names."},
	{PathInvalid, "A path that cannot be matched",
		"The path has characters no request path can have, does not start with a slash, or its type is not known. The path is not served."},
	{PathConflict, "A path that an older Ingress has taken",
		"Two Ingresses want the same host, path and path type. The oldest serves it (by creationTimestamp); the other is ignored for this path. Remove one of them, or make one of them a canary."},
	{HostInvalid, "A host name that is not one",
		"The host is not a DNS name, nor a wildcard with one leading star label. The rule is not served."},
	{RegexInvalid, "A regular expression that does not compile",
		"lintel uses RE2, which has no lookaround and no backreferences and therefore cannot be made slow by a request. Rewrite the expression without them."},
	{BackendInvalid, "A backend that cannot be used",
		"The backend names both a Service and a resource, neither, or a resource of a kind that cannot be served. Only a ConfigMap of the same namespace can be a resource backend. The route answers 503."},
	{ClassUnknown, "An Ingress class that does not exist",
		"spec.ingressClassName names an IngressClass that is not there, so no controller serves the Ingress. Create the class or correct the name."},
	{ClassNone, "An Ingress without a class",
		"The Ingress names no class, and --watch-ingress-without-class is off. Nobody serves it. Set spec.ingressClassName."},
	{APIVersionOld, "An API version that no longer exists",
		"The manifest is written in an API version Kubernetes has removed. lintel reads it as networking.k8s.io/v1 when it comes from a directory; an API server would refuse it. Rewrite it: backend.service.name, backend.service.port and pathType are the fields that changed."},
	{ManifestInvalid, "A manifest that cannot be read",
		"A file is not YAML or JSON, or an object in it is not what its kind demands. What was last read from it keeps serving. Correct the place that is named."},
	{ManifestField, "A field its kind does not have",
		"The manifest has a field that does not exist in the API, most often a misspelling or a wrong indentation. It is ignored."},
	{ManifestIgnored, "A kind lintel does not read",
		"The manifest is of a kind that has no part in serving traffic. It is skipped."},
	{ObjectDuplicate, "An object that is there twice",
		"Two manifests define the same object. The first one, in the order of files and documents, counts. Remove the other."},
	{CatchAllDisabled, "A default backend while catch-alls are disabled",
		"The controller runs with --disable-catch-all, and the Ingress has spec.defaultBackend. The Ingress is not served."},
	{CanaryOrphan, "A canary without anything to be a canary of",
		"An Ingress with the canary annotation has a host and path that no other Ingress serves. It gets no traffic."},
	{AddressForbidden, "An address that must not be connected to",
		"Loopback, link-local and unspecified addresses would lead into lintel's own machine and are refused as endpoints and as targets of sub-requests. Only objects from a directory of manifests may use loopback addresses."},
	{FilterBuild, "A setting that could not be put into force",
		"The data plane could not build a filter of the route from its settings. The route answers 503 until the setting is corrected."},
	{SecurityAdvice, "A setting that is weaker than it looks",
		"The configuration is served as it is written, but it opens more than it seems to. The message says what."},
	{EndpointsUpgraded, "An Endpoints object read as an EndpointSlice",
		"Endpoints objects are the old form of EndpointSlices. From a directory lintel reads them as slices; in a cluster it reads slices only, which Kubernetes makes by itself."},
}

// Catalogue returns the documentation of every code, in a fixed order. The caller may keep and change it.
func Catalogue() []Entry { return slices.Clone(catalogue) }

// Describe returns the documentation of c.
func Describe(c Code) (Entry, bool) {
	for _, e := range catalogue {
		if e.Code == c {
			return e, true
		}
	}
	return Entry{}, false
}
