package admit

import (
	"fmt"
	"slices"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// checkBan reports that spec.banned of a Refinery names a node.
func (a *Authenticator) checkBan(refinery, id, fingerprint string) *Denial {
	r := a.Directory.Refinery(refinery)
	if r == nil {
		return nil // checkAccess says so
	}
	for _, ban := range r.Spec.Banned {
		named := (ban.ID != "" && string(ban.ID) == id) || (ban.Certificate != "" && ban.Certificate == fingerprint)
		if named && a.inForce(&ban) {
			return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonBanned, Message: fmt.Sprintf("spec.banned of the Refinery names it: %s", Truncate(ban.Reason, 256))}
		}
	}
	return nil
}

func (a *Authenticator) inForce(ban *v1alpha1.NodeBan) bool {
	return ban.Until == nil || a.Clock.Now().Before(ban.Until.Time)
}

// bansCertificate reports whether a ban of a Refinery's names a certificate, and so binds only where certificates are checked.
func (a *Authenticator) bansCertificate(r *v1alpha1.Refinery) bool {
	return slices.ContainsFunc(r.Spec.Banned, func(ban v1alpha1.NodeBan) bool { return ban.Certificate != "" && a.inForce(&ban) })
}
