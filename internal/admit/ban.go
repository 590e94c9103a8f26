package admit

import (
	"fmt"

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
		if named && (ban.Until == nil || a.Clock.Now().Before(ban.Until.Time)) {
			return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonBanned, Message: fmt.Sprintf("spec.banned of the Refinery names it: %s", Truncate(ban.Reason, 256))}
		}
	}
	return nil
}
