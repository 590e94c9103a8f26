package wire

// Rules of spec.md that a peer's bytes can break.
const (
	ruleCode      = "R-2.2"
	ruleBound     = "R-2.5"
	ruleObject    = "R-3.1"
	ruleString    = "R-3.2"
	ruleDuplicate = "R-3.3"
	ruleTrailing  = "R-3.5"
	ruleKeys      = "R-3.7"
	ruleValues    = "R-3.9"
)

// Violation says which rule of spec.md the peer's bytes break. It never holds anything the peer sent.
type Violation struct {
	Rule   string // R-<section>.<number>
	Detail string
}

func (v *Violation) Error() string { return v.Detail + " (" + v.Rule + ")" }

func violation(rule, detail string) error { return &Violation{Rule: rule, Detail: detail} }
