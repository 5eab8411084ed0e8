package transcript

import "quant"

// ParseSize reads how large a transcript may become, as quant.ParseBytes reads it;
// 0 for none. Usage: it is no size, or less than MinSize.
func ParseSize(text string) (int64, error) {
	size, err := quant.ParseBytes(text)
	if err == nil && size != 0 && size < MinSize {
		return 0, quant.Errorf(quant.Usage, "%s is too small: at least %s, or 0", text, quant.FormatBytes(MinSize))
	}
	return size, err
}
