@echo off
rem Run EasyPhoto without a WebUI; see easyphoto.sh for the commands. Paths that you give are those of the folder you are
rem in. No blocks in parentheses: a path may hold one ("Program Files (x86)").
setlocal
set "ROOT=%~dp0"
set "VENV=%EASYPHOTO_VENV%"
if not defined VENV set "VENV=%ROOT%.venv"
set "PYTHON=%VENV%\Scripts\python.exe"
set "WANTED=requirements-standalone.txt"
if "%~1"=="test" set "WANTED=requirements-test.txt"

if exist "%PYTHON%" goto made
py -3.12 -m venv "%VENV%" 2>nul && goto made
py -3.11 -m venv "%VENV%" 2>nul && goto made
py -3.10 -m venv "%VENV%" 2>nul && goto made
py -3.13 -m venv "%VENV%" 2>nul && goto made
python -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))" 2>nul && python -m venv "%VENV%" && goto made
echo EasyPhoto needs Python 3.10 to 3.13.>&2
exit /b 1

:made
copy /b /y "%ROOT%requirements*.txt" "%VENV%\wanted.txt" >nul
fc /b "%VENV%\wanted.txt" "%VENV%\%WANTED%.done" >nul 2>nul && goto ready
echo Installing what %WANTED% lists into "%VENV%": a few minutes, once.>&2
rem --no-warn-conflicts: what one package lacks on purpose (requirements-nodeps.txt) is no error
"%PYTHON%" -m pip install --quiet --disable-pip-version-check --no-warn-conflicts -c "%ROOT%requirements-lock.txt" -r "%ROOT%%WANTED%" || exit /b 1
"%PYTHON%" -m pip install --quiet --disable-pip-version-check --no-deps -r "%ROOT%requirements-nodeps.txt" || exit /b 1
copy /y "%VENV%\wanted.txt" "%VENV%\%WANTED%.done" >nul

:ready
if "%~1"=="test" goto test
"%PYTHON%" "%ROOT%run.py" %*
exit /b %ERRORLEVEL%

:test
cd /d "%ROOT%"
rem not %*, which holds the word test too
"%PYTHON%" -m pytest %2 %3 %4 %5 %6 %7 %8 %9
exit /b %ERRORLEVEL%
