package tracking

// DatasetCondition is a condition on the datasets of a run: that it has one whose
// Key compares so with the values.
type DatasetCondition struct {
	Key        string // name, digest or context
	Comparator string // =, !=, LIKE, ILIKE, IN, NOT IN
	Values     []string
}
