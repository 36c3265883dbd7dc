package diag

// Code identifies a kind of finding; every code stands in the catalogue.
type Code string

// Entry documents one code.
type Entry struct {
	Code  Code
	Title string // one line
	Help  string // what it means and what to do, for docs/reference/diagnostics.md
}

// The codes. Add a constant and an entry in catalogue.
const (
	AnnotationValue    Code = "annotation-value"     // a value its grammar refuses
	AnnotationUnknown  Code = "annotation-unknown"   // our prefix, no such name
	AnnotationRemoved  Code = "annotation-removed"   // a name ingress-nginx once had
	AnnotationNoEffect Code = "annotation-no-effect" // accepted; nothing needs doing
	AnnotationLater    Code = "annotation-later"     // known, not implemented yet
	AnnotationRisk     Code = "annotation-risk"      // above annotations-risk-level
	AnnotationConflict Code = "annotation-conflict"  // a shared setting another Ingress won
	SnippetRefused     Code = "snippet-refused"
	ConfigMapValue     Code = "configmap-value"
	ConfigMapUnknown   Code = "configmap-unknown"
	ConfigMapNoEffect  Code = "configmap-no-effect"
	ConfigMapLater     Code = "configmap-later"   // known, not implemented yet
	ReferenceMissing   Code = "reference-missing" // Secret, ConfigMap, Service that is not there
	ReferenceInvalid   Code = "reference-invalid" // there, but unusable
	ReferenceForbidden Code = "reference-forbidden"
	ServicePort        Code = "service-port" // no such port
	ServiceEndpoints   Code = "service-endpoints"
	CertificateInvalid Code = "certificate-invalid"
	CertificateExpired Code = "certificate-expired"
	CertificateName    Code = "certificate-name" // does not cover the host
	PathInvalid        Code = "path-invalid"
	PathConflict       Code = "path-conflict" // host and path taken by an older Ingress
	HostInvalid        Code = "host-invalid"
	RegexInvalid       Code = "regex-invalid"
	BackendInvalid     Code = "backend-invalid" // both service and resource, or an unknown resource kind
	ClassUnknown       Code = "class-unknown"
	ClassNone          Code = "class-none" // nobody serves it
	APIVersionOld      Code = "api-version-old"
	ManifestInvalid    Code = "manifest-invalid" // does not parse
	ManifestField      Code = "manifest-field"   // a field its kind does not have
	ManifestIgnored    Code = "manifest-ignored" // a kind lintel does not read
	ObjectDuplicate    Code = "object-duplicate"
	CatchAllDisabled   Code = "catch-all-disabled"
	CanaryOrphan       Code = "canary-orphan"
	AddressForbidden   Code = "address-forbidden" // loopback, link-local: S3.3
	FilterBuild        Code = "filter-build"      // the data plane could not build it
	SecurityAdvice     Code = "security-advice"
	EndpointsUpgraded  Code = "endpoints-upgraded" // an Endpoints object read as an EndpointSlice
)
