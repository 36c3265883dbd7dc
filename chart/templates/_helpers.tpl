{{- define "ingress-nginx.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ingress-nginx.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ingress-nginx.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ingress-nginx.controller.fullname" -}}
{{- printf "%s-%s" (include "ingress-nginx.fullname" .) .Values.controller.name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ingress-nginx.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ingress-nginx.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ingress-nginx.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "ingress-nginx.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "ingress-nginx.name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ingress-nginx.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ingress-nginx.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ingress-nginx.electionID" -}}
{{- default (printf "%s-leader" (include "ingress-nginx.fullname" .)) .Values.controller.electionID -}}
{{- end -}}

{{- define "ingress-nginx.image" -}}
{{- $image := .Values.controller.image -}}
{{- $name := $image.image -}}
{{- if $image.registry -}}{{- $name = printf "%s/%s" $image.registry $image.image -}}{{- end -}}
{{- with $image.repository -}}{{- $name = . -}}{{- end -}}
{{- if or (contains "ingress-nginx/controller" $name) (contains "nginx-ingress-controller" $name) -}}
{{- fail (printf "controller.image names the retired controller (%s): remove controller.image.registry, image, repository, tag and digest from your values" $name) -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "ingress-nginx.args" -}}
- /nginx-ingress-controller
{{- if .Values.controller.publishService.enabled }}
- --publish-service={{ default (printf "$(POD_NAMESPACE)/%s" (include "ingress-nginx.controller.fullname" .)) .Values.controller.publishService.pathOverride }}
{{- end }}
- --election-id={{ include "ingress-nginx.electionID" . }}
- --controller-class={{ .Values.controller.ingressClassResource.controllerValue }}
{{- with .Values.controller.ingressClass }}
- --ingress-class={{ . }}
{{- end }}
- --configmap={{ default "$(POD_NAMESPACE)" .Values.controller.configMapNamespace }}/{{ include "ingress-nginx.controller.fullname" . }}
{{- if .Values.controller.scope.enabled }}
- --watch-namespace={{ default "$(POD_NAMESPACE)" .Values.controller.scope.namespace }}
{{- else if .Values.controller.scope.namespaceSelector }}
- --watch-namespace-selector={{ .Values.controller.scope.namespaceSelector }}
{{- end }}
{{- if .Values.controller.watchIngressWithoutClass }}
- --watch-ingress-without-class=true
{{- end }}
{{- if .Values.controller.ingressClassByName }}
- --ingress-class-by-name=true
{{- end }}
{{- if .Values.controller.disableLeaderElection }}
- --disable-leader-election=true
{{- end }}
{{- if .Values.controller.healthCheckHost }}
- --healthz-host={{ .Values.controller.healthCheckHost }}
{{- end }}
{{- if ne .Values.controller.healthCheckPath "/healthz" }}
- --health-check-path={{ .Values.controller.healthCheckPath }}
{{- end }}
{{- if ne (int .Values.controller.containerPort.http) 80 }}
- --http-port={{ .Values.controller.containerPort.http }}
{{- end }}
{{- if ne (int .Values.controller.containerPort.https) 443 }}
- --https-port={{ .Values.controller.containerPort.https }}
{{- end }}
{{- if .Values.controller.metrics.enabled }}
- --enable-metrics=true
{{- else }}
- --enable-metrics=false
{{- end }}
{{- if not (hasKey (default dict .Values.controller.extraArgs) "shutdown-grace-period") }}
- --shutdown-grace-period={{ .Values.controller.shutdownGracePeriod }}
{{- end }}
{{- range $key, $value := .Values.controller.extraArgs }}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") }}
- --{{ $key }}
{{- else }}
- --{{ $key }}={{ $value }}
{{- end }}
{{- end }}
{{- end -}}
