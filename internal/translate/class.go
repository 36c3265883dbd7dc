package translate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// classAnnotation is the legacy way to name a class.
const classAnnotation = "kubernetes.io/ingress.class"

// adopted reports whether an Ingress is ours (reference/routing.md 2): by namespace, then by
// class. Everything is read through r, so that a class or a label that appears later
// counts at once. The finding is set where probably nobody serves it.
func adopted(in *object.Ingress, from object.Origin, r *object.Reader, o *Options) (bool, *diag.Diagnostic) {
	if o.WatchNamespace != "" && in.Namespace != o.WatchNamespace {
		return false, nil
	}
	if o.NamespaceSelector != nil && !o.NamespaceSelector.Empty() {
		ns, ok := r.Namespace(in.Namespace)
		if !ok || !o.NamespaceSelector.Matches(labels.Set(ns.Labels)) {
			return false, nil
		}
	}
	if in.Spec.IngressClassName != nil && !o.IgnoreClasses {
		return byField(*in.Spec.IngressClassName, from, r, o)
	}
	if text, ok := in.Annotations[classAnnotation]; ok {
		return text == o.IngressClass, nil
	}
	if o.WithoutClass {
		return true, nil
	}
	severity := diag.Info
	if from.Local {
		severity = diag.Warning
	}
	return false, &diag.Diagnostic{
		Code: diag.ClassNone, Severity: severity, Field: "spec.ingressClassName", Effect: diag.ObjectOff,
		Message: "the Ingress names no class, and no Ingress without one is served",
		Hint:    fmt.Sprintf("set spec.ingressClassName: %s, or start lintel with --watch-ingress-without-class", o.IngressClass),
	}
}

func byField(name string, from object.Origin, r *object.Reader, o *Options) (bool, *diag.Diagnostic) {
	class, ok := r.IngressClass(name)
	if ok {
		return class.Spec.Controller == o.ControllerClass || o.ByName && name == o.IngressClass, nil
	}
	// In a directory the IngressClass object is often left out; our own class goes without saying there.
	if from.Local && name == o.IngressClass {
		return true, nil
	}
	hint := fmt.Sprintf("create the IngressClass with spec.controller: %s, or name one that exists", o.ControllerClass)
	if name != o.IngressClass && annotation.Nearest(name, []string{o.IngressClass}) != "" {
		hint = "did you mean " + o.IngressClass + "?"
	}
	return false, &diag.Diagnostic{
		Code: diag.ClassUnknown, Severity: diag.Warning, Field: "spec.ingressClassName", Value: name, Effect: diag.ObjectOff,
		Message: fmt.Sprintf("there is no IngressClass %q", name),
		Hint:    hint,
		Related: []diag.Ref{{Kind: "IngressClass", Name: name}},
	}
}
