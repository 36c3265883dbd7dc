{{- define "ingress-nginx.podTemplate" -}}
metadata:
  annotations:
    {{- /* A changed ConfigMap is read live: no checksum, no restart. */}}
    {{- with .Values.controller.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "ingress-nginx.labels" . | nindent 4 }}
    app.kubernetes.io/component: controller
    {{- with .Values.controller.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.controller.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.controller.dnsConfig }}
  dnsConfig: {{- toYaml . | nindent 4 }}
  {{- end }}
  dnsPolicy: {{ .Values.controller.dnsPolicy }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.controller.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.controller.podSecurityContext }}
  securityContext: {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "ingress-nginx.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
  terminationGracePeriodSeconds: {{ .Values.controller.terminationGracePeriodSeconds }}
  {{- if .Values.controller.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with .Values.controller.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.controller.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.controller.affinity }}
  affinity: {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  {{- with .Values.controller.topologySpreadConstraints }}
  topologySpreadConstraints: {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .Values.controller.containerName }}
      image: {{ include "ingress-nginx.image" . | quote }}
      imagePullPolicy: {{ .Values.controller.image.pullPolicy }}
      {{- with .Values.controller.lifecycle }}
      lifecycle: {{- toYaml . | nindent 8 }}
      {{- end }}
      args: {{- include "ingress-nginx.args" . | nindent 8 }}
      securityContext:
        runAsNonRoot: {{ .Values.controller.image.runAsNonRoot }}
        runAsUser: {{ .Values.controller.image.runAsUser }}
        runAsGroup: {{ .Values.controller.image.runAsGroup }}
        allowPrivilegeEscalation: {{ .Values.controller.image.allowPrivilegeEscalation }}
        readOnlyRootFilesystem: {{ .Values.controller.image.readOnlyRootFilesystem }}
        seccompProfile: {{- toYaml .Values.controller.image.seccompProfile | nindent 10 }}
        capabilities:
          drop: [ALL]
          add: [NET_BIND_SERVICE]
      env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: POD_NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        {{- with .Values.controller.extraEnvs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      livenessProbe: {{- toYaml .Values.controller.livenessProbe | nindent 8 }}
      readinessProbe: {{- toYaml .Values.controller.readinessProbe | nindent 8 }}
      ports:
        {{- range $name, $port := .Values.controller.containerPort }}
        - name: {{ $name }}
          containerPort: {{ $port }}
          protocol: TCP
          {{- if $.Values.controller.hostPort.enabled }}
          hostPort: {{ index $.Values.controller.hostPort.ports $name | default $port }}
          {{- end }}
        {{- end }}
        - name: {{ .Values.controller.metrics.portName }}
          containerPort: {{ .Values.controller.metrics.port }}
          protocol: TCP
      {{- with .Values.controller.resources }}
      resources: {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- /* Request bodies over client-body-buffer-size are spooled here. */}}
        - name: tmp
          mountPath: /tmp
        {{- with .Values.controller.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with .Values.controller.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
