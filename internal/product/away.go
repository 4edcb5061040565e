package product

// AwayError says that a server does not answer at present, or not as one that may
// decide anything: what was asked of it may succeed later, and nothing is known of
// it until then. What a server refuses for good is another error.
type AwayError struct {
	Server string // for people, such as "MongoDB"
	Err    error
}

func (e *AwayError) Error() string { return e.Err.Error() }

func (e *AwayError) Unwrap() error { return e.Err }
