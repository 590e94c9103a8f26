package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// Annotations of the Deployment of a Refinery: what its pods were made from.
const (
	askedAnnotation     = "cluster.refinery.dev/asked"
	revisionAnnotation  = "cluster.refinery.dev/revision"
	upgradingAnnotation = "cluster.refinery.dev/upgrading"
)

// Making is what the pods of a Refinery are made from, in two parts that change for different reasons.
type Making struct {
	// Asked is what the owner of the Refinery asks for in its spec: the version of the operator, and a digest.
	Asked string
	// Revision is everything else: the version of the operator, and a digest of the pod that it makes for any Refinery of the
	// ClusterMaster. It is the same for all of these.
	Revision string
	// Upgrading is the revision that the pods were let go to in their turn, until they have come back; "" otherwise.
	Upgrading string
}

// MakingOf is what the pods of a Refinery would be made from now.
func MakingOf(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, images Images) (Making, error) {
	// What reaches no pod is left out, and what Connects compares: a field that is forgotten here lets an upgrade go too soon, and not never.
	asked := r.Spec.DeepCopy()
	asked.MasterRef, asked.Replicas, asked.Placement, asked.CertificateSecretRef = v1alpha1.LocalReference{}, nil, "", nil
	asked.Access, asked.Nodes, asked.Banned, asked.Upstream, asked.Paused = "", nil, nil, "", false
	asked.Ports, asked.Service, asked.CommonMetadata = nil, v1alpha1.RefineryService{}, v1alpha1.CommonMetadata{}
	asked.UpgradePolicy, asked.Rollout, asked.PodDisruptionBudget, asked.StatefulSet = "", v1alpha1.Rollout{}, v1alpha1.DisruptionBudget{}, nil
	anyone := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "anyone"}, Spec: v1alpha1.RefinerySpec{MasterRef: r.Spec.MasterRef}}
	askedDigest, err := digest(asked)
	if err != nil {
		return Making{}, err
	}
	platform, err := digest(basePodTemplate(anyone, m, images, true))
	if err != nil {
		return Making{}, err
	}
	return Making{Asked: version.Version + "-" + askedDigest, Revision: version.Version + "-" + platform}, nil
}

func digest(of any) (string, error) {
	raw, err := json.Marshal(of)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", of, err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:5]), nil
}

// MadeFrom is what the pods of a Deployment were made from. It is empty for one of a release that did not write it down.
func MadeFrom(d *appsv1.Deployment) Making {
	return Making{Asked: d.Annotations[askedAnnotation], Revision: d.Annotations[revisionAnnotation], Upgrading: d.Annotations[upgradingAnnotation]}
}

// RevisionIn is the revision that is written down in what is about to be applied.
func RevisionIn(d *appsv1ac.DeploymentApplyConfiguration) string {
	return d.Annotations[revisionAnnotation]
}

// Stamp writes down what the pods of a Deployment are made from.
func (m Making) Stamp(d *appsv1ac.DeploymentApplyConfiguration) {
	for key, value := range map[string]string{askedAnnotation: m.Asked, revisionAnnotation: m.Revision, upgradingAnnotation: m.Upgrading} {
		if value != "" {
			d.WithAnnotations(map[string]string{key: value})
		}
	}
}

// AsksMoreThan reports whether the owner asks for other pods than those that were made from former. Another version of the operator
// may have another digest for the same spec: then seen decides, which says whether that version has reconciled the whole of it.
func (m Making) AsksMoreThan(former Making, seen bool) bool {
	formerVersion, formerDigest := cutDigest(former.Asked)
	_, digest := cutDigest(m.Asked)
	return formerDigest != digest && (formerVersion == version.Version || !seen)
}

// cutDigest parts the version of the operator from the digest; a version may have hyphens itself.
func cutDigest(asked string) (version, digest string) {
	i := strings.LastIndexByte(asked, '-')
	if i < 0 {
		return "", ""
	}
	return asked[:i], asked[i+1:]
}

// RunningTemplate is the pod template of a Deployment or StatefulSet as the operator applied it last, nil if it never did. live has
// the managed fields that the API server keeps.
func RunningTemplate(live podset.Object) (*v1.PodTemplateSpecApplyConfiguration, error) {
	if set, ok := live.(*appsv1.StatefulSet); ok {
		applied, err := appsv1ac.ExtractStatefulSet(set, v1alpha1.OperatorFieldOwner)
		if err != nil {
			return nil, fmt.Errorf("what was applied to StatefulSet %s: %w", set.Name, err)
		}
		if applied.Spec == nil {
			return nil, nil
		}
		return applied.Spec.Template, nil
	}
	deployment := live.(*appsv1.Deployment)
	applied, err := appsv1ac.ExtractDeployment(deployment, v1alpha1.OperatorFieldOwner)
	if err != nil {
		return nil, fmt.Errorf("what was applied to Deployment %s: %w", deployment.Name, err)
	}
	if applied.Spec == nil {
		return nil, nil
	}
	return applied.Spec.Template, nil
}

// SamePods reports whether two templates make the same pods. Quantities that mean the same are the same.
func SamePods(a, b *v1.PodTemplateSpecApplyConfiguration) (bool, error) {
	templates := [2]corev1.PodTemplateSpec{}
	for i, t := range []*v1.PodTemplateSpecApplyConfiguration{a, b} {
		raw, err := json.Marshal(t)
		if err != nil {
			return false, fmt.Errorf("encode a pod template: %w", err)
		}
		if err := json.Unmarshal(raw, &templates[i]); err != nil {
			return false, fmt.Errorf("decode a pod template: %w", err)
		}
	}
	return equality.Semantic.DeepEqual(templates[0], templates[1]), nil
}

// HasWorkload reports whether the template of a Refinery puts containers of its own beside the agent.
func HasWorkload(r *v1alpha1.Refinery) bool {
	if r.Spec.Template == nil {
		return false
	}
	_, template, err := parseTemplate(r.Spec.Template.Raw)
	return err != nil || hasWorkload(template)
}
