{{- define "refinery-operator.chart" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- /* The name of the release, before all that follows in names of its objects. */ -}}
{{- define "refinery-operator.name" -}}
{{- $chart := include "refinery-operator.chart" . -}}
{{- $name := contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{ .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "refinery-operator.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "refinery-operator.name" .) }}
{{- end }}

{{- define "refinery-operator.selector" -}}
app.kubernetes.io/name: {{ include "refinery-operator.chart" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* commonLabels never replace what the chart sets by itself. */ -}}
{{- define "refinery-operator.labels" -}}
{{- $own := dict "app.kubernetes.io/name" (include "refinery-operator.chart" .) "app.kubernetes.io/part-of" "refinery-operator"
  "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) -}}
{{ merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{- /* Those of an object for Prometheus: what it is found by does not replace the chart's own either. */ -}}
{{- define "refinery-operator.monitoringLabels" -}}
{{ merge (include "refinery-operator.labels" .root | fromYaml) .labels | toYaml }}
{{- end }}

{{- /* commonLabels as spec.commonMetadata takes them; empty if there are none. */ -}}
{{- define "refinery-operator.labelsOfOwned" -}}
{{- $labels := dict -}}
{{- range $key, $value := .Values.commonLabels }}{{ if not (hasPrefix "app.kubernetes.io/" $key) }}{{ $_ := set $labels $key $value }}{{ end }}{{ end -}}
{{- with $labels }}{{ toYaml . }}{{ end -}}
{{- end }}

{{- define "refinery-operator.podLabels" -}}
{{ merge (include "refinery-operator.selector" . | fromYaml) .Values.podLabels .Values.commonLabels | toYaml }}
{{- end }}

{{- /* The namespaces that the operator watches, as a list in JSON; empty for all. */ -}}
{{- define "refinery-operator.namespaces" -}}
{{ .Values.watchNamespaces | default (.Values.rbac.namespaced | ternary (list .Release.Namespace) list) | toJson }}
{{- end }}

{{- define "refinery-operator.image" -}}
{{- $image := .root.Values.image -}}
{{- with .root.Values.global.imageRegistry | default $image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}/{{ .name }}
{{- with get $image.digests .name }}@{{ . }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The names of the Secrets for pulling images, each once, as a list in JSON. */ -}}
{{- define "refinery-operator.pullSecrets" -}}
{{- $names := list -}}
{{- range concat .Values.imagePullSecrets (.Values.global.imagePullSecrets | default list) -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name")) -}}
{{- end -}}
{{ $names | uniq | toJson }}
{{- end }}
