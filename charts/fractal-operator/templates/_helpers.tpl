{{- define "fractal.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "fractal.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "fractal.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "fractal.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of what has no namespace: two releases of one name must not share it. */}}
{{- define "fractal.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "fractal.fullname" .) -}}
{{- end -}}

{{- define "fractal.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fractal.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "fractal.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "fractal.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "fractal.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: fractal
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The operator's pods, and not those of the migration. */}}
{{- define "fractal.selector" -}}
app.kubernetes.io/name: {{ include "fractal.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "fractal.databaseEnv" -}}
- name: FRACTAL_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.key }}
{{- end -}}

{{/* Which objects are this release's. */}}
{{- define "fractal.watchEnv" -}}
{{- with .Values.watch.namespaces }}
- name: FRACTAL_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.watch.labelSelector }}
- name: FRACTAL_LABEL_SELECTOR
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The terms of watch.labelSelector as CEL: core/selector.py. No label has a value in <>. */}}
{{- define "fractal.selected" -}}
{{- $terms := list -}}
{{- range regexFindAll "[^,(]+(\\([^)]*\\))?" .Values.watch.labelSelector -1 -}}
{{- $key := regexFind "[A-Za-z0-9][A-Za-z0-9_./-]*" . -}}
{{- $value := printf "object.metadata.?labels[?'%s'].orValue('<none>')" $key -}}
{{- $rest := regexReplaceAll "^[\\s!]*[A-Za-z0-9][A-Za-z0-9_./-]*" . "" | trim -}}
{{- $values := regexReplaceAll "^(==|=|!=|in\\s*\\(|notin\\s*\\()|[()\\s]" $rest "" -}}
{{- $listed := printf "['%s']" (splitList "," $values | join "', '") -}}
{{- $not := ternary "!" "" (or (hasPrefix "!" (trim .)) (hasPrefix "!=" $rest) (hasPrefix "notin" $rest)) -}}
{{- $test := ternary (printf "%s in %s" $value $listed) (printf "%s != '<none>'" $value) (ne $rest "") -}}
{{- $terms = append $terms (printf "%s(%s)" $not $test) -}}
{{- end -}}
{{ join " && " $terms }}
{{- end -}}

{{- define "fractal.env" -}}
- name: FRACTAL_RELEASE_NAME
  value: {{ .Release.Name | quote }}
- name: FRACTAL_RELEASE_NAMESPACE
  value: {{ .Release.Namespace | quote }}
- name: FRACTAL_METRICS_PORT
  value: {{ .Values.metrics.port | quote }}
{{- include "fractal.watchEnv" . }}
{{- range $name, $value := .Values.settings }}
{{- if or $value (has (kindOf $value) (list "bool" "float64" "int64")) }}
- name: FRACTAL_{{ snakecase $name | upper }}
  value: {{ kindIs "slice" $value | ternary (join "," $value) (toString $value) | quote }}
{{- end }}
{{- end }}
{{- with .Values.allow }}
- name: FRACTAL_ALLOW
  value: {{ toJson . | quote }}
{{- end }}
{{- if .Values.database.existingSecret }}
{{ include "fractal.databaseEnv" . }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What runs anywhere: where its pods may be scheduled, and how they get their image. */}}
{{- define "fractal.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A writable /tmp beside a read-only root: Python's tempfile needs one folder. */}}
{{- define "fractal.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fractal.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Patterns of the allow-list as one regular expression: core/allow.py, in Go and RE2. */}}
{{- define "fractal.regex" -}}
{{- $all := list -}}
{{- range . -}}
{{- if eq . "*" -}}
{{- $all = append $all ".*" -}}
{{- else -}}
{{- $host := regexReplaceAll "/.*$" . "" -}}
{{- $path := trimPrefix $host . -}}
{{- $host = regexQuoteMeta $host | replace "\\*" "[^/]*" | replace "\\?" "[^/]" -}}
{{- $path = regexQuoteMeta $path | replace "\\*" ".*" | replace "\\?" "." -}}
{{- $all = append $all (print $host $path) -}}
{{- end -}}
{{- end -}}
(?s)^(?:{{ join "|" $all }})$
{{- end -}}

{{/* What the operator does in the namespaces that it watches. */}}
{{- define "fractal.rules" -}}
- apiGroups: [fractal.co]
  resources: [fractalcontainers]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [fractal.co]
  resources: [fractalcontainers/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* What it reads of the cluster: kube-system's uid names the installation. */}}
{{- define "fractal.clusterRules" -}}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
{{- if .Values.watch.namespaces }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
{{- if not .Values.settings.installId }}
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end }}
{{- end -}}
